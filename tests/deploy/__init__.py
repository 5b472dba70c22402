"""What is in deploy/, each as far as the program that it is for is here."""
