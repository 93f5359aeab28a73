"""Resources as documents: JSON and XML, references, metadata, patches, bundles. Pure; no input or output."""
