"""Published records of LEMUR (nn-dataset): read without importing or executing any of them."""
