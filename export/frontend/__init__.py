"""What MODEL may be: files are checked and loaded, inputs planned, third-party layers adapted."""
