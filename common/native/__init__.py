"""Operations in C that PyTorch has no fused form of, compiled on the machine that runs them."""
