//! Manifests: which layer holds the module. Two layouts are known.
//!
//! * The CNCF Wasm OCI artifact: a layer that is the module itself.
//! * The compat form, as container tools build it: an image whose last layer is an archive with `plugin.wasm`.

use serde::Deserialize;

/// A manifest of an image, or an index of them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// Names a blob or a manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
}

/// What a manifest leads to.
#[derive(Debug)]
pub(crate) enum Pick {
    Layer(Layer),
    /// One of an index.
    Manifest(Descriptor),
}

/// The blob that the module is in.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) descriptor: Descriptor,
    pub(crate) packing: Packing,
}

/// How a module lies in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// It is the layer.
    Bare,
    /// It is `plugin.wasm` in a tar archive, mostly compressed.
    Archive,
}

impl Manifest {
    /// The layer with the module, or the manifest to look at next.
    pub(crate) fn pick(&self) -> Result<Pick, String> {
        if let Some(layer) = self.layers.iter().find(|layer| BARE.contains(&layer.media_type.as_str())) {
            return Ok(Pick::Layer(Layer { descriptor: layer.clone(), packing: Packing::Bare }));
        }
        if let Some(layer) = self.layers.last().filter(|layer| ARCHIVES.contains(&layer.media_type.as_str()))
        {
            return Ok(Pick::Layer(Layer { descriptor: layer.clone(), packing: Packing::Archive }));
        }
        if !self.layers.is_empty() {
            let kinds: Vec<&str> = self.layers.iter().map(|layer| layer.media_type.as_str()).collect();
            return Err(format!(
                "no layer is a module: they are {}; wanted is {} or, as the last one, {}",
                kinds.join(", "),
                BARE[0],
                ARCHIVES[0]
            ));
        }
        let wasm = |manifest: &&Descriptor| {
            manifest.platform.as_ref().is_some_and(|platform| platform.architecture.starts_with("wasm"))
        };
        // An image of the compat form is mostly built for whatever machine it was built on.
        let real = |manifest: &&Descriptor| {
            manifest.platform.as_ref().is_none_or(|platform| platform.architecture != "unknown")
        };
        let all = &self.manifests;
        let found = all.iter().find(wasm).or_else(|| all.iter().find(real));
        found.cloned().map(Pick::Manifest).ok_or_else(|| "the manifest has no layer".to_owned())
    }
}

/// What a registry is asked for.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// Layers that are a module: the artifact's, and those of tools before it.
const BARE: [&str; 3] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
];

/// Layers that are an archive.
const ARCHIVES: [&str; 4] = [
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(json: &str) -> Result<Pick, String> {
        serde_json::from_str::<Manifest>(json).expect("valid").pick()
    }

    fn layers(kinds: &[&str]) -> String {
        let layer = |kind: &&str| format!(r#"{{"mediaType":"{kind}","digest":"{kind}","size":1}}"#);
        format!(r#"{{"layers":[{}]}}"#, kinds.iter().map(layer).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn both_layouts_are_known() {
        for (kinds, digest, packing) in [
            (&["application/wasm"][..], "application/wasm", Packing::Bare),
            (&["x", BARE[2], "y"], BARE[2], Packing::Bare),
            (&[ARCHIVES[0]], ARCHIVES[0], Packing::Archive),
            (&[ARCHIVES[0], ARCHIVES[1]], ARCHIVES[1], Packing::Archive),
        ] {
            match pick(&layers(kinds)) {
                Ok(Pick::Layer(layer)) => {
                    assert_eq!((layer.descriptor.digest.as_str(), layer.packing), (digest, packing));
                }
                other => panic!("{kinds:?}: {other:?}"),
            }
        }
        assert!(pick(&layers(&["a", "b"])).is_err_and(|why| why.contains("a, b")));
        assert!(pick("{}").is_err());
    }

    #[test]
    fn an_index_leads_to_the_wasm_image_or_the_first_real_one() {
        let entry = |digest: &str, architecture: &str| {
            format!(r#"{{"digest":"{digest}","size":1,"platform":{{"architecture":"{architecture}"}}}}"#)
        };
        let index = |entries: &[String]| format!(r#"{{"manifests":[{}]}}"#, entries.join(","));
        for (entries, expected) in [
            (vec![entry("a", "amd64"), entry("w", "wasm")], "w"),
            (vec![entry("u", "unknown"), entry("a", "arm64")], "a"),
        ] {
            match pick(&index(&entries)) {
                Ok(Pick::Manifest(found)) => assert_eq!(found.digest, expected),
                other => panic!("{other:?}"),
            }
        }
    }
}
