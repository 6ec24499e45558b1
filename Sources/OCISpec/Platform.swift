package import JSON

/// An operating system and processor, in Go's names ("linux", "amd64", "arm64" with variant "v8").
/// - SeeAlso: OCI image-spec, image-index.md, "platform".
package struct Platform: Hashable, Sendable, CustomStringConvertible {
  package var os: String
  package var architecture: String
  package var variant: String?

  package init(os: String, architecture: String, variant: String? = nil) {
    self.os = os
    self.architecture = architecture
    self.variant = variant
  }

  /// What this program was built for.
  package static var host: Platform {
    #if arch(x86_64)
      Platform(os: "linux", architecture: "amd64")
    #elseif arch(arm64)
      Platform(os: "linux", architecture: "arm64", variant: "v8")
    #else
      #error("name this processor as Go does")
    #endif
  }

  /// From "linux/amd64" or "linux/arm/v7".
  package init(_ text: String) throws(ImageSpecError) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard (2...3).contains(parts.count), !parts.contains(where: \.isEmpty) else {
      let problem = "must look like linux/amd64 or linux/arm/v7"
      throw ImageSpecError(.invalid, "platform \(ImageReference.shown(text))", problem)
    }
    self.init(
      os: String(parts[0]), architecture: String(parts[1]), variant: parts.count == 3 ? String(parts[2]) : nil)
  }

  package init(json: JSONValue, in subject: String) throws(ImageSpecError) {
    let reader = try ImageDocumentReader(json, subject)
    os = try reader.string("os") ?? ""
    architecture = try reader.string("architecture") ?? ""
    variant = try reader.string("variant").flatMap { $0.isEmpty ? nil : $0 }
  }

  package var json: JSONValue {
    var object = JSONObject()
    object["architecture"] = .string(architecture)
    object["os"] = .string(os)
    if let variant { object["variant"] = .string(variant) }
    return .object(object)
  }

  package var description: String { variant.map { "\(os)/\(architecture)/\($0)" } ?? "\(os)/\(architecture)" }

  /// How well an image for `self` runs on `wanted`: nil not at all, else lower is better. A lower arm or amd64 variant runs
  /// on a higher one.
  package func rank(for wanted: Platform) -> Int? {
    guard os == wanted.os, architecture == wanted.architecture else { return nil }
    let mine = level
    let most = wanted.level
    return mine <= most ? most - mine : nil
  }

  /// The variant as a number; without one, what the architecture means by it.
  private var level: Int {
    let fallback = architecture == "arm64" ? 8 : architecture == "arm" ? 7 : 1
    guard let variant, variant.utf8.first == UInt8(ascii: "v") else { return variant == nil ? fallback : .max }
    return Int(variant.dropFirst().prefix { $0 != "." }) ?? .max
  }
}
