internal import CArchive

/// SHA-256 (FIPS 180-4) over bytes as they come.
package struct SHA256Hasher: Sendable {
  private var state = carchive_sha256()

  package init() { unsafe carchive_sha256_init(&state) }

  package mutating func update(_ bytes: [UInt8]) {
    // Safe: the array's storage lives for the length of the call.
    unsafe bytes.withUnsafeBytes { unsafe carchive_sha256_update(&state, $0.baseAddress, $0.count) }
  }

  mutating func update(_ bytes: UnsafeRawBufferPointer) {
    unsafe carchive_sha256_update(&state, bytes.baseAddress, bytes.count)
  }

  /// The 32 bytes of the hash of what was given so far; more may be given afterwards.
  package var digest: [UInt8] {
    var copy = state
    return unsafe [UInt8](unsafeUninitializedCapacity: 32) { buffer, count in
      // Safe: the buffer holds the 32 bytes that are written.
      unsafe carchive_sha256_final(&copy, buffer.baseAddress!)
      count = 32
    }
  }

  package static func hash(_ bytes: [UInt8]) -> [UInt8] {
    var hasher = SHA256Hasher()
    hasher.update(bytes)
    return hasher.digest
  }
}
