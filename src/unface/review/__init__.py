"""People correct the boxes: tasks with gold images and lives, judged on the server; answers joined to a consensus."""
