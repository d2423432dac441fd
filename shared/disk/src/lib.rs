//! Directories that an agent may change at any moment, to harm us.
//!
//! What holds here: every path is opened by the kernel below the directory's own root and through no
//! link (`openat2`); what is opened is looked at before it is read; opening waits for nobody; what was
//! opened stays what it is. Whoever keeps workspaces uses it: the control plane on one machine, and the
//! shim where a container keeps none.
//!
//! Deliberately absent: changing what is there. Who may, and how, differs between the two.

mod beneath;
mod walk;

pub use beneath::{NotOpened, Root};
pub use walk::{found_file, walk};
