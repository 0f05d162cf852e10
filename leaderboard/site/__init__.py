"""The leaderboard as a folder of web pages that open from file://, with everything they need inside it."""
