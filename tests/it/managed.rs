//! What only the managed services do to the system, done to what is deployed: functions invoked at
//! once and killed in the midst of their work, connections that go without a word, and the limits of
//! what they take.

mod deployed;
