//! x
use crate::Error;
use crate::process::Process;
use gate::Function;
pub(crate) async fn serve(process: Process, function: &'static Function) -> Result<(), Error> {
    let _ = (process, function);
    Ok(())
}
