//! Nothing: this package is its bench and the test binaries that the bench runs.
