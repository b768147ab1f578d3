//! The console as Vite built it, inside the binary.

use std::borrow::Cow;

use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "$OUT_DIR/dist"]
struct Dist;

/// What stands in the page where its nonce belongs.
const NONCE: &str = "__NONCE__";

/// A file of the console.
#[derive(Debug)]
pub struct File {
    pub bytes: Cow<'static, [u8]>,
    /// The same, by gzip, where that is smaller.
    pub gzipped: Option<Cow<'static, [u8]>>,
    pub media_type: &'static str,
}

/// The page of every path of the console. `nonce` is what its content security policy allows: fresh for each answer, of base64's characters.
pub fn page(nonce: &str) -> String {
    // The build script writes it whatever befalls.
    let page = Dist::get("index.html").map(|file| file.data).unwrap_or_default();
    String::from_utf8_lossy(&page).replace(NONCE, nonce)
}

/// A file that the page asks for. Their names have a hash of what is in them, so they never change. None: there is no such file.
pub fn asset(path: &str) -> Option<File> {
    let path = format!("assets/{path}");
    let media_type = match path.rsplit('.').next()? {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" => "application/json",
        _ => return None,
    };
    let gzipped = Dist::get(&format!("{path}.gz")).map(|file| file.data);
    Some(File { bytes: Dist::get(&path)?.data, gzipped, media_type })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_carries_the_nonce_and_nothing_of_its_place() {
        let page = page("abc123");
        assert!(page.contains("<title>logvine</title>") && !page.contains(NONCE));
    }

    /// With the placeholder there are none.
    #[test]
    fn what_the_page_names_is_there_and_smaller_by_gzip() {
        let page = page("n");
        for (at, begin) in page.match_indices("/assets/") {
            let path = page[at + begin.len()..].split('"').next().unwrap();
            let file = asset(path).unwrap_or_else(|| panic!("{path} is not embedded"));
            assert!(file.gzipped.is_none_or(|gzipped| gzipped.len() < file.bytes.len()), "{path}");
        }
    }

    #[test]
    fn nothing_beside_the_assets_is_given() {
        for path in ["../index.html", "index.html", "", "x", "x.js", "../../Cargo.toml"] {
            assert!(asset(path).is_none(), "{path}");
        }
    }
}
