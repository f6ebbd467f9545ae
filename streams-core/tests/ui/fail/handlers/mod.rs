//! Not seen by the macro of `file_module.rs`.
