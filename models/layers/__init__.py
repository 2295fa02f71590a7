"""The layers of the four papers, and the torch custom operators that they are traced as."""
