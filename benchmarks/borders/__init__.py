"""Public networks whose convolutions have other borders than zeros, exported."""
