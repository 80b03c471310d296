//! The asterism binary.
