//! `import-queue`: the queue of another system is taken over, and nobody whom it has called is called again.

mod gates;
