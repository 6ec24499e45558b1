import Kernel
import KubeModel

/// Names and times that the server gives.
enum ObjectNames {
  /// Without vowels and what is easily mistaken, so that no words come about.
  private static let letters = Array("bcdfghjklmnpqrstvwxz2456789")
  private static let suffixLength = 5
  private static let nameBytesMax = 63

  static func generated(from base: String) -> String {
    var generator = SystemRandomNumberGenerator()
    var name = String(base.prefix(nameBytesMax - suffixLength))
    for _ in 0..<suffixLength { name.append(letters.randomElement(using: &generator) ?? "x") }
    return name
  }

  /// RFC 9562, version 4.
  static func uid() -> String {
    var bytes = randomBytes(16)
    bytes[6] = bytes[6] & 0x0F | 0x40
    bytes[8] = bytes[8] & 0x3F | 0x80
    let hex = hexadecimal(bytes)
    var text = ""
    for (index, character) in hex.enumerated() {
      if [8, 12, 16, 20].contains(index) { text.append("-") }
      text.append(character)
    }
    return text
  }

  static func seconds(_ time: String) -> Int64? { RFC3339.parse(time)?.seconds }

  static func time(_ seconds: Int64) -> String { RFC3339.text(seconds: seconds) }
}
