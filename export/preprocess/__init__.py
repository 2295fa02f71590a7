"""What is put in front of a model and behind it: images as they come from a camera, answers instead of logits."""
