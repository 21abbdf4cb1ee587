"""SOMAS: what is read, said and changed, on the sample data and on projects made for the purpose."""
