//! placeholder
/// c
pub struct ClientTls;
impl ClientTls {
    /// n
    pub fn new(_v: bool) -> Result<Self, String> {
        Ok(ClientTls)
    }
}
/// s
pub struct ServerTls;
impl ServerTls {
    /// n
    pub fn load(_c: &std::path::Path, _k: &std::path::Path) -> Result<Self, String> {
        Ok(ServerTls)
    }
}
