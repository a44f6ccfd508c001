using AfaNative.Engine.Core;
using AfaNative.Engine.Imaging;
using Xunit;

namespace AfaNative.Tests.Imaging;

public class AttentionOverviewTests
{
    [Fact]
    public void Maps_of_different_sizes_are_averaged_where_they_lie()
    {
        // Expert 0 left in one map of 2 x 2, everywhere alike in one of 1 x 1.
        float[] mean = AttentionOverview.Mean([(2, 2, [1, 0, 1, 0, 0, 1, 0, 1]), (1, 1, [0.5f, 0.5f])], 2, 4, 4);
        Assert.Equal(32, mean.Length);
        Assert.Equal(0.75f, mean[0], 6);
        Assert.Equal(0.25f, mean[3], 6);
        // Between the middles of two cells the map is blended: a quarter of the way in 1 is 0.75.
        Assert.Equal((0.75f + 0.5f) / 2, mean[1], 6);
        for (int i = 0; i < 16; i++)
            Assert.Equal(1, mean[i] + mean[16 + i], 6);
        Assert.Throws<AfaException>(() => AttentionOverview.Mean([], 2, 4, 4));
    }

    [Fact]
    public void The_overview_shows_the_picture_and_a_map_for_every_expert()
    {
        RgbImage picture = RgbImage.Filled(8, 8, (200, 200, 200));
        RgbImage drawn = AttentionOverview.Draw("a title", picture, ["expert 0", "expert 1"], [(1, 2, [1, 0, 0, 1])]);
        Assert.True(drawn.Width > 3 * 256);
        Assert.Equal(((byte)200, (byte)200, (byte)200), drawn.Get(20 + 128, 68 + 128));
        // Expert 0 counts most at the left of its map and least at the right, expert 1 the other way round.
        int first = 20 + 256 + 12,
            second = first + 256 + 12,
            y = 68 + 128;
        Assert.Equal(drawn.Get(first + 2, y), drawn.Get(second + 253, y));
        Assert.Equal(drawn.Get(first + 253, y), drawn.Get(second + 2, y));
        Assert.NotEqual(drawn.Get(first + 2, y), drawn.Get(first + 253, y));
    }
}
