"""The processes of one cluster: which of them live, what they write to each other, who clears up behind a dead one."""
