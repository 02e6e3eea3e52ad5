"""Things to try: `python -m examples.demo` annotates sample media on this machine."""
