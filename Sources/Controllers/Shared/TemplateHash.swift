package import KubeModel
internal import JSON

/// The label by which the pods of one template are told from those of another.
package enum TemplateHash {
  package static let label = "pod-template-hash"
  /// No vowels and no digits that look like them, so that no word comes out.
  private static let alphabet = Array("bcdfghjklmnpqrstvwxz2456789".utf8)

  /// Ten letters at most. A name that is taken is avoided by another `collisionCount`.
  package static func of(_ template: PodTemplateSpec, collisionCount: Int32?) -> String {
    var hash: UInt32 = 2_166_136_261
    func take(_ byte: UInt8) { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
    for byte in template.json.encoded() { take(byte) }
    if let collisionCount {
      let bits = UInt64(UInt32(bitPattern: collisionCount))
      for shift in stride(from: UInt64(0), to: 64, by: 8) { take(UInt8(bits >> shift & 255)) }
    }
    return String(decoding: String(hash).utf8.map { alphabet[Int($0) % alphabet.count] }, as: UTF8.self)
  }

  /// Whether two templates make the same pods, whatever their hash labels say.
  package static func areEqual(_ left: PodTemplateSpec, _ right: PodTemplateSpec) -> Bool {
    var (left, right) = (left, right)
    left.metadata.labels[label] = nil
    right.metadata.labels[label] = nil
    return left == right
  }
}
