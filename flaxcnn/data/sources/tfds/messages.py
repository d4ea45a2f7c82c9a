"""The protocol buffers in a prepared data set's files, declared here so that reading them imports no other package.

`Example` is TensorFlow's `tf.train.Example`; the others are from ArrayRecord's `layout.proto`. Fields that are not
listed are skipped, as usual for protocol buffers.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_OPTIONAL, _REPEATED = 1, 3  # FieldDescriptorProto's labels
_FLOAT, _UINT64, _INT64, _STRING, _BYTES, _MESSAGE = 2, 4, 3, 9, 12, 11  # its types
_PACKAGE = "flaxcnn.tfds"

_FIELDS: dict[str, tuple[tuple[str, int, int, int, str], ...]] = {  # message -> name, number, label, type, message
    "Example": (("features", 1, _OPTIONAL, _MESSAGE, "Features"),),
    "Features": (("feature", 1, _REPEATED, _MESSAGE, "NamedFeature"),),  # on the wire, a map is a list of its entries
    "NamedFeature": (("key", 1, _OPTIONAL, _STRING, ""), ("value", 2, _OPTIONAL, _MESSAGE, "Feature")),
    "Feature": (
        ("bytes_list", 1, _OPTIONAL, _MESSAGE, "BytesList"),
        ("float_list", 2, _OPTIONAL, _MESSAGE, "FloatList"),
        ("int64_list", 3, _OPTIONAL, _MESSAGE, "Int64List"),
    ),
    "BytesList": (("value", 1, _REPEATED, _BYTES, ""),),
    "FloatList": (("value", 1, _REPEATED, _FLOAT, ""),),
    "Int64List": (("value", 1, _REPEATED, _INT64, ""),),
    "Postscript": (("footer_offset", 1, _OPTIONAL, _UINT64, ""), ("magic", 2, _OPTIONAL, _UINT64, "")),
    "FooterMetadata": (("array_record_metadata", 1, _OPTIONAL, _MESSAGE, "ArrayRecordMetadata"),),
    "ArrayRecordMetadata": (
        ("version", 1, _OPTIONAL, _UINT64, ""),
        ("num_chunks", 2, _OPTIONAL, _UINT64, ""),
        ("num_records", 3, _OPTIONAL, _UINT64, ""),
    ),
    "Footer": (
        ("chunk_offset", 1, _OPTIONAL, _UINT64, ""),
        ("decoded_data_size", 2, _OPTIONAL, _UINT64, ""),
        ("num_records", 3, _OPTIONAL, _UINT64, ""),
    ),
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="flaxcnn/tfds.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, label, kind, of in fields:
            message.field.add(
                name=field, number=number, label=label, type=kind, type_name=f".{_PACKAGE}.{of}" if of else None
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _FIELDS}


_CLASSES = _classes()
Example = _CLASSES["Example"]
Postscript = _CLASSES["Postscript"]
FooterMetadata = _CLASSES["FooterMetadata"]
Footer = _CLASSES["Footer"]
