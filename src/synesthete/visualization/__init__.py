"""Images made of a model: what its neurons see (`features`), and where in an image a neuron looks (`attribution`)."""
