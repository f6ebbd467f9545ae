//! The legal forms, a file each. One program, so that they cost one build; what a form means when
//! it runs is asserted where the form stands.

#![allow(unreachable_pub, reason = "visibility is what some of the forms are about")]

mod arguments;
mod borrowed_payloads;
mod cfg_and_scopes;
mod clock;
mod completed_later;
mod default_handler;
mod helpers_beside_handlers;
mod interjections;
mod list_form;
mod list_with_interjections;
mod names_and_visibility;
mod return_types;
mod rows;
mod several_record_types;
mod several_sources;
mod shared_state;
mod stores;
mod typed_outputs;
mod versions;
mod wire_names;
