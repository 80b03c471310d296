//! Objects by name: a folder or S3.
