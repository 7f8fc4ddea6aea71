"""What the shipped model can and cannot do: measurements that need more than the probe set, and the model card."""
