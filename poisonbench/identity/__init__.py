"""What makes two numbers the same thing: declared versions, the code behind them, the content of tensors."""
