using AfaNative.Kernels.Contracts;
using Xunit;

namespace AfaNative.Tests;

public class ElementTypeTests
{
    [Theory]
    [InlineData(ElementType.Float32, 4)]
    [InlineData(ElementType.BFloat16, 2)]
    [InlineData(ElementType.Boolean, 1)]
    public void Size_in_bytes(ElementType type, int size) => Assert.Equal(size, type.Size());
}
