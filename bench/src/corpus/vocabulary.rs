//! Names and values that make the corpus look like the traces of a web shop.

/// Service names; further services get a number appended.
pub const SERVICES: [&str; 8] =
    ["frontend", "checkout", "cart", "catalogue", "payment", "shipping", "recommendation", "inventory"];

/// Routes, also used as span names of servers.
pub const ROUTES: [&str; 12] = [
    "/api/v1/products/{id}",
    "/api/v1/products/search",
    "/api/v1/cart/{user}",
    "/api/v1/cart/{user}/items",
    "/api/v1/checkout",
    "/api/v1/orders/{id}",
    "/api/v1/payments/authorize",
    "/api/v1/shipping/quote",
    "/api/v1/recommendations",
    "/api/v1/inventory/{sku}",
    "/api/v1/users/{id}/profile",
    "/api/v1/currency/convert",
];

/// HTTP methods, the frequent one repeated.
pub const METHODS: [&str; 6] = ["GET", "GET", "GET", "POST", "PUT", "DELETE"];

/// Hosts of peers.
pub const HOSTS: [&str; 6] = [
    "cart.shop.svc",
    "catalogue.shop.svc",
    "payment.shop.svc",
    "postgres-0.data.svc",
    "redis-2.data.svc",
    "kafka-1.data.svc",
];

/// Values of the attribute by which some traces must be kept; only the last one is in the policy.
pub const TIERS: [&str; 3] = ["free", "standard", "business"];

/// The value of [`TIER_KEY`] that must be kept.
pub const TIER_KEPT: &str = "platinum";

/// Key of the attribute by which some traces must be kept.
pub const TIER_KEY: &str = "customer.tier";

/// Attribute on every span: number of spans of its trace, so that a sink alone can tell whole from partial.
pub const TRACE_SPANS_KEY: &str = "load.trace.spans";

/// Attribute on every span of a trace that must be kept: why.
pub const KEEP_KEY: &str = "load.keep";

/// User agents.
pub const USER_AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "okhttp/4.12.0",
    "python-requests/2.32.3",
];

/// Statements; cut or repeated to the length wanted.
pub const STATEMENTS: [&str; 4] = [
    "SELECT o.id, o.total, o.currency, i.sku, i.quantity FROM orders o JOIN order_items i ON i.order_id = o.id WHERE \
     o.user_id = $1 AND o.state IN ($2, $3) ORDER BY o.created_at DESC LIMIT 50 ",
    "INSERT INTO cart_items (cart_id, sku, quantity, added_at) VALUES ($1, $2, $3, now()) ON CONFLICT (cart_id, sku) DO \
     UPDATE SET quantity = cart_items.quantity + excluded.quantity ",
    "UPDATE inventory SET reserved = reserved + $1, updated_at = now() WHERE sku = $2 AND available - reserved >= $1 \
     RETURNING available, reserved ",
    "SELECT p.id, p.name, p.price, ts_rank(p.document, q) AS rank FROM products p, plainto_tsquery($1) q WHERE \
     p.document @@ q ORDER BY rank DESC LIMIT 24 OFFSET $2 ",
];

/// Messages of exceptions.
pub const EXCEPTIONS: [(&str, &str); 4] = [
    ("TimeoutError", "upstream did not answer within 250 ms"),
    ("ConnectionResetError", "connection reset by peer"),
    ("PaymentDeclined", "issuer refused the card"),
    ("IntegrityError", "duplicate key value violates unique constraint"),
];
