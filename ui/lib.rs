//! The console. Until it is built, a page that says so.

/// The page at `/`.
pub const INDEX: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>logvine</title>
<h1>logvine</h1>
<p>This node runs. The console is not built yet; the API is at <code>/v1</code>, its description at <a href=\"/openapi.json\">/openapi.json</a>.</p>
</html>
";
