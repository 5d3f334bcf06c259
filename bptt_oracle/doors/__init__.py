"""What other programs call: assertions for tests, and the judgement of one's own numbers."""
