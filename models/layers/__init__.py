"""The layers of the four ideas, and the torch custom operators they are traced as."""
