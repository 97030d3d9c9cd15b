//! Clients of outside services. Each turns its provider's shapes into the domain's; none knows the store.
