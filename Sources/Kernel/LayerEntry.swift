internal import CArchive
internal import Glibc

/// What is read of one entry of a tar. Borrowed from libarchive until its next header.
@safe struct LayerEntry: ~Copyable {
  private let raw: OpaquePointer

  init(_ raw: OpaquePointer) { unsafe self.raw = unsafe raw }

  /// NUL-terminated bytes, as in the archive.
  var path: [CChar] { unsafe Self.copy(archive_entry_pathname(raw)) ?? [0] }
  var hardlink: [CChar]? { unsafe Self.copy(archive_entry_hardlink(raw)) }
  var symlink: [CChar]? { unsafe Self.copy(archive_entry_symlink(raw)) }
  var type: mode_t { unsafe archive_entry_filetype(raw) }
  /// The twelve bits below the type.
  var mode: mode_t { unsafe archive_entry_perm(raw) & 0o7777 }
  var owner: uid_t { uid_t(truncatingIfNeeded: unsafe archive_entry_uid(raw)) }
  var group: gid_t { gid_t(truncatingIfNeeded: unsafe archive_entry_gid(raw)) }
  var size: Int64 { unsafe archive_entry_size(raw) }
  var device: dev_t { unsafe archive_entry_rdev(raw) }
  var isSparse: Bool { unsafe archive_entry_sparse_count(raw) > 0 }
  var hasXattrs: Bool { unsafe archive_entry_xattr_count(raw) > 0 }

  var modified: timespec {
    unsafe timespec(tv_sec: archive_entry_mtime(raw), tv_nsec: archive_entry_mtime_nsec(raw))
  }

  func forEachXattr(_ limits: LayerLimits, _ body: (String, UnsafeRawBufferPointer) throws -> Void) throws {
    let count = unsafe archive_entry_xattr_reset(raw)
    guard count <= limits.xattrsMax else {
      throw ArchiveError(.tooLarge, "has \(count) extended attributes, at most \(limits.xattrsMax) are taken")
    }
    while true {
      var name: UnsafePointer<CChar>?
      var value: UnsafeRawPointer?
      var size = 0
      guard unsafe archive_entry_xattr_next(raw, &name, &value, &size) == CARCHIVE_OK, let name = unsafe name else {
        return
      }
      let text = unsafe String(cString: name)
      guard size <= limits.xattrBytesMax else {
        throw ArchiveError(
          .tooLarge, "its attribute \(text) has \(size) bytes, at most \(limits.xattrBytesMax) are taken")
      }
      try unsafe body(text, UnsafeRawBufferPointer(start: value, count: size))
    }
  }

  private static func copy(_ text: UnsafePointer<CChar>?) -> [CChar]? {
    guard let text = unsafe text else { return nil }
    return unsafe Array(UnsafeBufferPointer(start: text, count: strlen(text) + 1))
  }
}

/// The path of an entry inside a layer: components without `.` or `..`, as bytes (a layer's names need not be text).
struct LayerPath: Hashable {
  /// Without slashes at either end; NUL-terminated. Empty for the root.
  let bytes: [CChar]
  /// Where the last component begins.
  let nameStart: Int

  private static let slash = CChar(UInt8(ascii: "/"))
  private static let dot = CChar(UInt8(ascii: "."))

  /// Leading slashes are dropped, as every tar does; `..` is refused.
  init(_ text: [CChar], limits: LayerLimits) throws {
    var clean: [CChar] = []
    clean.reserveCapacity(text.count)
    var depth = 0
    for component in text.dropLast().split(separator: Self.slash) {
      if component.elementsEqual([Self.dot]) { continue }
      if component.elementsEqual([Self.dot, Self.dot]) {
        throw ArchiveError(.refused, entry: Self.show(text), "its path has \"..\" and could lead out of the layer")
      }
      guard component.count <= 255 else {
        throw ArchiveError(.refused, entry: Self.show(text), "a name in its path is longer than 255 bytes")
      }
      if !clean.isEmpty { clean.append(Self.slash) }
      clean += component
      depth += 1
    }
    guard clean.count <= limits.pathBytesMax, depth <= limits.depthMax else {
      let detail = "its path has more than \(limits.pathBytesMax) bytes or \(limits.depthMax) directories"
      throw ArchiveError(.refused, entry: Self.show(text), detail)
    }
    self.init(clean: clean)
  }

  /// From components already checked, without the NUL.
  private init(clean: [CChar]) {
    nameStart = clean.lastIndex(of: Self.slash).map { $0 + 1 } ?? 0
    bytes = clean + [0]
  }

  var isRoot: Bool { bytes.count == 1 }
  /// The last component, NUL-terminated.
  var name: [CChar] { Array(bytes[nameStart...]) }
  /// Everything above the last component.
  var parentPath: LayerPath { LayerPath(clean: Array(bytes[..<max(0, nameStart - 1)])) }
  var count: Int { bytes.count - 1 }
  /// Where it is text.
  var validText: String? { String(validating: bytes.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self) }
  /// For messages.
  var shown: String { Self.show(bytes) }

  /// A path by which a call without a descriptor form reaches this name in an open directory.
  func inDescriptor(_ parent: CInt) -> [CChar] {
    Array("/proc/self/fd/\(parent)/".utf8.map { CChar(bitPattern: $0) }) + name
  }

  private static let whiteout: [CChar] = ".wh.".utf8.map { CChar(bitPattern: $0) }
  var hasWhiteoutPrefix: Bool { bytes[nameStart...].starts(with: Self.whiteout) }
  var isOpaqueMarker: Bool { name.dropLast().elementsEqual(".wh..wh..opq".utf8.map { CChar(bitPattern: $0) }) }
  var isAufsMetadata: Bool { bytes[nameStart...].starts(with: Self.whiteout + Self.whiteout) }

  func withoutWhiteoutPrefix() throws -> LayerPath {
    let hidden = Array(bytes[(nameStart + 4)...].dropLast())
    if hidden.isEmpty || hidden == [Self.dot] || hidden == [Self.dot, Self.dot] {
      throw ArchiveError(.refused, entry: shown, "is a whiteout of no name of its own directory")
    }
    return LayerPath(clean: Array(bytes[..<nameStart]) + hidden)
  }

  private static func show(_ text: [CChar]) -> String {
    let printable = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }.map { $0 < 0x20 || $0 == 0x7F ? 0x3F : $0 }
    return "\"" + String(decoding: printable.prefix(200), as: UTF8.self) + (printable.count > 200 ? "…\"" : "\"")
  }
}
