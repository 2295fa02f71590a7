"""The commands about keys and signatures."""
