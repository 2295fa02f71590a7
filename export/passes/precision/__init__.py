"""Convert a graph to float16 or bfloat16."""
