"""What ships with poisonbench, in the form of entry points: the registry takes it through the door of the plugins, and
it is there in a checkout that was never installed."""

from __future__ import annotations

from collections.abc import Mapping

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "attack": {
        "back-gradient": "poisonbench.attacks.back_gradient.attack:BackGradient",
        "clean-copies": "poisonbench.attacks.clean_copies:CleanCopies",
        "emn": "poisonbench.attacks.emn:EMN",
        "gradient-canceling": "poisonbench.attacks.gradient_canceling.attack:GradientCanceling",
        "gradient-matching": "poisonbench.attacks.gradient_matching:GradientMatching",
        "i-min-max": "poisonbench.attacks.min_max.improved:IMinMax",
        "influence-attack": "poisonbench.attacks.influence_attack.attack:InfluenceAttack",
        "kkt": "poisonbench.attacks.kkt.attack:KKT",
        "label-flip": "poisonbench.attacks.label_flip:LabelFlip",
        "metapoison": "poisonbench.attacks.metapoison.attack:MetaPoison",
        "min-max": "poisonbench.attacks.min_max.attack:MinMax",
        "model-targeted": "poisonbench.attacks.model_targeted.attack:ModelTargeted",
        "poison-svm": "poisonbench.attacks.poison_svm.attack:PoisonSVM",
        "pgan": "poisonbench.attacks.pgan.attack:PGAN",
        "rem": "poisonbench.attacks.rem:REM",
        "replay": "poisonbench.attacks.replay:Replay",
        "tap": "poisonbench.attacks.tap:TAP",
        "tgda": "poisonbench.attacks.tgda.attack:TGDA",
    },
    "defense": {
        "none": "poisonbench.defenses.none:NoDefense",
        "random-filter": "poisonbench.defenses.random_filter:RandomFilter",
        "perfect-filter": "poisonbench.defenses.perfect_filter:PerfectFilter",
        "trusted-only": "poisonbench.defenses.trusted_only:TrustedOnly",
        "influence": "poisonbench.defenses.influence.defense:Influence",
        "loss": "poisonbench.defenses.loss:LossDefense",
        "sever": "poisonbench.defenses.sever.defense:Sever",
        "roni": "poisonbench.defenses.roni:RONI",
        "trim": "poisonbench.defenses.trim:Trim",
        "trimmed-loss": "poisonbench.defenses.trimmed_loss:TrimmedLoss",
        "maxup": "poisonbench.defenses.maxup.defense:MaxUp",
        "adversarial-training": "poisonbench.defenses.adversarial_training:AdversarialTraining",
        "cutmix": "poisonbench.defenses.mixing:CutMix",
        "dp-sgd": "poisonbench.defenses.dp_sgd:DPSGD",
        "early-stopping": "poisonbench.defenses.early_stopping:EarlyStopping",
        "friendly-noise": "poisonbench.defenses.friendly_noise:FriendlyNoise",
        "epic": "poisonbench.defenses.epic:EPIc",
        "mixup": "poisonbench.defenses.mixing:Mixup",
        "squeezing": "poisonbench.defenses.squeezing:Squeezing",
        "dpa": "poisonbench.defenses.aggregation.dpa:DPA",
        "finite-aggregation": "poisonbench.defenses.aggregation.finite_aggregation:FiniteAggregation",
        "l2": "poisonbench.defenses.sanitizers.l2:L2",
        "slab": "poisonbench.defenses.sanitizers.slab:Slab",
        "knn": "poisonbench.defenses.sanitizers.knn:KNN",
        "svd": "poisonbench.defenses.sanitizers.svd:SVD",
        "spectral-signatures": "poisonbench.defenses.sanitizers.spectral_signatures:SpectralSignatures",
    },
    "model": {
        "lr": "poisonbench.models.lr:LogisticRegression",
        "svm": "poisonbench.models.svm:LinearSVM",
        "nn": "poisonbench.models.nn:NeuralNetwork",
        "cnn": "poisonbench.models.cnn:CNN",
        "cifar-cnn": "poisonbench.models.cifar_cnn:CifarCNN",
        "resnet18": "poisonbench.models.resnet18:ResNet18",
    },
    "dataset": {
        "digits": "poisonbench.data.digits:Digits",
        "digits-17": "poisonbench.data.digits:Digits17",
        "mnist": "poisonbench.data.mnist:MNIST",
        "mnist-17": "poisonbench.data.mnist:MNIST17",
        "mnist-5k": "poisonbench.data.mnist_5k:MNIST5k",
        "cifar10": "poisonbench.data.cifar10:CIFAR10",
    },
}
"""Kind → name → "module:Class"."""
