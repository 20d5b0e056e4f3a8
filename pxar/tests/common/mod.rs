//! What the tests of archives share.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)] // each test uses a part

use std::collections::BTreeMap;
use std::io::{self, Read};

use pxar::{Accessor, Body, Decoder, Encoder, Error, Inode, Input, Node, ReadAt, Step};

/// A vector made by upstream's encoder (`test-vectors.md` §8); none where the fixtures are not.
pub fn vector(name: &str) -> Option<Vec<u8>> {
    let dir = support::fixtures::fixtures_dir().unwrap()?;
    let text = std::fs::read_to_string(dir.join("../spec/test-vectors.json")).unwrap();
    let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
    Some(hex::decode(vectors[name].as_str().unwrap()).unwrap())
}

/// What is at a path: the node, and the content if it is a file.
pub type Tree = BTreeMap<String, (Node, Option<Vec<u8>>)>;

/// All of an archive by way of the decoder.
pub fn decoded<I: Input>(decoder: &mut Decoder<I>) -> Result<Tree, Error> {
    let mut tree = Tree::new();
    let mut open = 0_usize;
    while let Some(step) = decoder.step()? {
        let path = String::from_utf8_lossy(decoder.path()).into_owned();
        match step {
            Step::Leave => open -= 1,
            Step::Enter(node) => {
                let content = match decoder.contents()? {
                    None => None,
                    Some(reader) => Some(all(reader)?),
                };
                open += usize::from(is_directory(&node));
                tree.insert(path, (node, content));
            }
        }
    }
    assert_eq!((open, decoder.depth()), (0, 0));
    Ok(tree)
}

fn all(mut reader: impl Read) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    match reader.read_to_end(&mut content) {
        Ok(_) => Ok(content),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Error::Corrupt {
            at: 0,
            why: error.to_string(),
        }),
        Err(source) => Err(Error::Io {
            action: "read",
            source,
        }),
    }
}

fn is_directory(node: &Node) -> bool {
    matches!(node, Node::Inode(inode) if inode.body == Body::Directory)
}

/// The same by way of the tables, each name looked up too.
pub fn accessed<A: ReadAt>(accessor: &Accessor<A>) -> Result<Tree, Error> {
    let mut tree = Tree::new();
    let mut open = vec![(String::new(), accessor.root()?)];
    while let Some((path, entry)) = open.pop() {
        for child in accessor.list(&entry)? {
            let child = child?;
            let name = String::from_utf8_lossy(&child.name);
            let path = match path.as_str() {
                "" => name.into_owned(),
                path => format!("{path}/{name}"),
            };
            let found = accessor.child(&entry, &child.name)?;
            if found.is_none_or(|found| found.node != child.node) {
                let why = format!("'{path}' is listed and not found");
                return Err(Error::Corrupt { at: 0, why });
            }
            open.push((path, child));
        }
        let content = content(accessor, entry.inode())?;
        tree.insert(path, (entry.node, content));
    }
    Ok(tree)
}

fn content<A: ReadAt>(
    accessor: &Accessor<A>,
    inode: Option<&Inode>,
) -> Result<Option<Vec<u8>>, Error> {
    let Some(Inode {
        body: Body::File(payload),
        ..
    }) = inode
    else {
        return Ok(None);
    };
    all(accessor.contents(payload)?).map(Some)
}

/// Writes all that the decoder still has, in its order.
pub fn copy<I: Input>(
    decoder: &mut Decoder<I>,
    encoder: &mut Encoder<Vec<u8>>,
) -> Result<(), Error> {
    // Where the names of files were, and where they are.
    let mut files = BTreeMap::new();
    while let Some(step) = decoder.step()? {
        let name = decoder.name().to_vec();
        match step {
            Step::Leave if decoder.depth() == 0 => {}
            Step::Leave => encoder.leave()?,
            Step::Enter(Node::Hardlink(link)) => {
                let target = files.get(&link.target).copied().unwrap_or_default();
                encoder.hard_link(&name, &link.path, target)?;
            }
            Step::Enter(Node::Inode(inode)) => match &inode.body {
                Body::Directory => encoder.enter(&name, &inode.metadata)?,
                Body::File(payload) => {
                    let at = decoder.position();
                    let content = decoder.contents()?.expect("a file has content");
                    let written = encoder.file(&name, &inode.metadata, payload.size, content)?;
                    assert_eq!(written.missing, 0);
                    files.insert(at, written.name_at);
                }
                body => encoder.special(&name, &inode.metadata, body)?,
            },
        }
    }
    Ok(())
}
