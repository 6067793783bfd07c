"""What obfuscation costs recognition: Section 4 and Appendices C and D of the paper, from result files only."""
