"""*Multimodal Neurons in Artificial Neural Networks* (Goh et al. 2021), measurement by measurement, on any model."""
