"""What tests share: data, runs and toy networks that are made for them."""
