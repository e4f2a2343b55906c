//! What is wrong with a document, by paths into it.

use std::cell::RefCell;

use super::tree::{Node, Step};

/// What a problem's message ends with, and where its caret stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: the message says it all.
    Nothing,
    /// The offending key: "unknown key `comand`".
    Key(String),
    /// What is there instead of what was expected: "expected a text, found the number `8080`". Without a text, the
    /// token of the file.
    Value(&'static str, Option<String>),
}

impl Found {
    /// What stands there.
    pub(super) fn value(node: &Node) -> Self {
        let text = match node {
            Node::Text(text) => Some(text.clone()),
            _ => None,
        };
        Self::Value(node.kind(), text)
    }
}

/// Something wrong, by its path; located later.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub steps: Vec<Step>,
    pub path: String,
    pub message: String,
    pub found: Found,
    pub hint: Option<String>,
    /// Another place that the hint names by its line: "first written on line 3".
    pub other: Option<Vec<Step>>,
}

/// Problems beyond this are not collected: nobody reads more at once, and each costs a walk over the file.
const MOST: usize = 10;

/// Everything wrong with one document, up to a bound.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn add(&self, problem: Problem) {
        let mut all = self.0.borrow_mut();
        if all.len() < MOST {
            all.push(problem);
        }
    }

    pub(super) fn take(self) -> Vec<Problem> {
        self.0.into_inner()
    }

    /// Whether further problems would be dropped, so that looking for them is a waste.
    pub(super) fn full(&self) -> bool {
        self.len() >= MOST
    }

    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}
