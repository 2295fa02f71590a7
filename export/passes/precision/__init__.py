"""float16 and bfloat16 in the graph."""
