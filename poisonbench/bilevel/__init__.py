"""Second-order tools for bilevel problems: Hessian-vector products, linear solvers, hypergradients, projections."""
