//! Answers the dialplan's questions.
