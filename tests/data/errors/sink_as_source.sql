SELECT * FROM typed;
