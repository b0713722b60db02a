use defer_axum::Deferrable;

#[derive(Deferrable)]
union Number {
    float: f32,
    bits: u32,
}

fn main() {}
